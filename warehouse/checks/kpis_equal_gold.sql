-- The day rows of both, to the cent: exact measures by their parts, distinct ones within three standard errors of the
-- lake's sketches (HLL, lg_k 14). Gold keeps days whose lines are dropped by now: they have no other side. What silver
-- still has must be here, and without any line every day of gold is missing.
with lines as (
    select min(occurred_at) as first_at from {{ ref('stg_raw_transactions') }}
),

gold as (
    select days.*
    from {{ ref('stg_gold_days') }} as days
    cross join lines
    where lines.first_at is null or days.day >= cast(lines.first_at as date)
),

both_sides as (
    select
        coalesce(ours.day, gold.day) as day,
        coalesce(ours.metric, gold.metric) as metric,
        coalesce(ours.dimension, gold.dimension) as dimension,
        coalesce(ours.label, gold.label) as label,
        ours.metric is null or gold.metric is null as is_missing,
        ours.metric in ('revenue', 'discount_rate') as is_money,
        ours.top,
        ours.bottom,
        ours.value,
        gold.top as gold_top,
        gold.bottom as gold_bottom,
        gold.value as gold_value
    from {{ ref('metrics_daily_kpis') }} as ours
    full outer join gold
        on ours.day = gold.day
        and ours.metric = gold.metric
        and ours.dimension = gold.dimension
        and ours.label = gold.label
)

select *
from both_sides
where is_missing
    or (
        metric in ('orders', 'customers')
        and abs(value - gold_value) > 0.03 * value
    )
    or (
        metric not in ('orders', 'customers')
        and (
            top * case when is_money then 100 else 1 end is distinct from gold_top
            or bottom * 100 is distinct from gold_bottom
        )
    )
