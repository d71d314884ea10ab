select
    store_id,
    min(occurred_at) as first_seen_at,
    max(occurred_at) as last_seen_at,
    count(distinct household_id) as households,
    count(distinct basket_id) as baskets
from {{ ref('stg_raw_transactions') }}
group by store_id
