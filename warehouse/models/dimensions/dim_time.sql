with instants as (
    select occurred_at as instant from {{ ref('stg_raw_transactions') }}
    union all
    select appended_at as instant from {{ ref('stg_raw_events') }}
),

bounds as (
    select cast(min(instant) as date) as first_day, cast(max(instant) as date) as last_day from instants having count(*) > 0
),

all_days as ({{ days('bounds') }}),

all_hours as (
    select day, hour
    from all_days
    cross join (
        values {% for hour in range(24) %}({{ hour }}){{ ', ' if not loop.last }}{% endfor %}
    ) as hours (hour)
)

select
    cast(
        extract(year from day) * 1000000 + extract(month from day) * 10000 + extract(day from day) * 100 + hour
        as bigint
    ) as time_key,
    day,
    hour,
    cast(extract(year from day) as integer) as year,
    cast(extract(quarter from day) as integer) as quarter,
    cast(extract(month from day) as integer) as month,
    cast(extract(week from day) as integer) as iso_week,
    cast({{ weekday('day') }} as integer) as weekday,
    {{ weekday('day') }} >= 6 as is_weekend
from all_hours
