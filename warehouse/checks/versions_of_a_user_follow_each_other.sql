-- Each version begins where the one before ends, one of them is current, and none is like the one before.
with beside_the_one_before as (
    select
        *,
        lag(valid_to) over (partition by household_id order by version) as ended,
        lag(home_store_id) over (partition by household_id order by version) as home_store_before,
        lag(spend_tier) over (partition by household_id order by version) as spend_tier_before,
        sum(case when is_current then 1 else 0 end) over (partition by household_id) as currents
    from {{ ref('dim_users') }}
)

select *
from beside_the_one_before
where currents <> 1
    or valid_to <= valid_from
    or (
        version > 1
        and (
            ended is distinct from valid_from
            or (
                home_store_id is not distinct from home_store_before
                and spend_tier is not distinct from spend_tier_before
            )
        )
    )
