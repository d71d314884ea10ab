select
    lines.transaction_key,
    users.user_key,
    lines.product_id,
    lines.store_id,
    {{ hour_key('lines.occurred_at') }} as time_key,
    lines.household_id,
    lines.basket_id,
    lines.department,
    lines.occurred_at,
    lines.appended_at,
    lines.partition_number,
    lines.offset_number,
    lines.quantity,
    lines.sales_value,
    lines.retail_disc,
    lines.coupon_disc,
    lines.coupon_match_disc
from {{ ref('stg_raw_transactions') }} as lines
left join {{ ref('dim_users') }} as users
    on lines.household_id = users.household_id
    and lines.occurred_at >= users.valid_from
    and (users.valid_to is null or lines.occurred_at < users.valid_to)
