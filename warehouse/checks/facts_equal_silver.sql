-- The facts have every line of silver, once, and all of its money.
with ours as (
    select
        count(*) as lines,
        count(distinct transaction_key) as keys,
        sum(quantity) as units,
        sum(sales_value) as paid,
        sum(retail_disc + coupon_disc + coupon_match_disc) as discount
    from {{ ref('fact_transactions') }}
),

silver as (
    select
        count(*) as lines,
        count(distinct df_id) as keys,
        sum(quantity) as units,
        sum(sales_value) as paid,
        sum(retail_disc + coupon_disc + coupon_match_disc) as discount
    from {{ source('curated', 'silver') }}
)

select ours.*
from ours
cross join silver
where ours.lines <> silver.lines
    or ours.keys <> silver.keys
    or ours.units is distinct from silver.units
    or ours.paid is distinct from silver.paid
    or ours.discount is distinct from silver.discount
