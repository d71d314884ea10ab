-- A household's habits of one month are its attributes from the next month on. So a version says what was known when
-- it began, and no purchase is explained by itself. The month that still runs, by the data's own clock, says nothing yet.
with lines as (
    select household_id, store_id, basket_id, sales_value, {{ month_of('occurred_at') }} as month
    from {{ ref('stg_raw_transactions') }}
),

by_store as (
    select household_id, month, store_id, count(distinct basket_id) as baskets, sum(sales_value) as spent
    from lines
    group by household_id, month, store_id
),

by_month as (
    select
        household_id,
        month,
        store_id,
        sum(spent) over (partition by household_id, month) as spent,
        row_number() over (partition by household_id, month order by baskets desc, spent desc, store_id) as nth
    from by_store
),

observed as (
    select household_id, min(month) as valid_from, cast(null as bigint) as home_store_id, 'new' as spend_tier
    from lines
    group by household_id
    union all
    select
        household_id,
        {{ month_after('month') }} as valid_from,
        store_id as home_store_id,
        case
            when spent < {{ var('regular_from') }} then 'light'
            when spent < {{ var('heavy_from') }} then 'regular'
            else 'heavy'
        end as spend_tier
    from by_month
    where nth = 1 and month < (select max(month) from lines)
),

history as ({{ versions('observed', 'household_id', ['home_store_id', 'spend_tier']) }})

select
    cast(history.household_id as varchar) || '@' || cast(history.valid_from as varchar) as user_key,
    history.household_id,
    history.version,
    history.valid_from,
    history.valid_to,
    history.valid_to is null as is_current,
    history.home_store_id,
    history.spend_tier,
    known.household_id is not null as has_demographics,
    known.age,
    known.income,
    known.home_ownership,
    known.marital_status,
    known.household_size,
    known.household_comp,
    known.kids_count
from history
left join {{ source('curated', 'households') }} as known on history.household_id = known.household_id
