select
    df_id as transaction_key,
    {{ utc('df_time') }} as occurred_at,
    {{ utc('df_ts') }} as appended_at,
    df_partition as partition_number,
    df_offset as offset_number,
    household_id,
    store_id,
    basket_id,
    product_id,
    coalesce(dim_department, '__unknown__') as department,
    quantity,
    sales_value,
    retail_disc,
    coupon_disc,
    coupon_match_disc,
    week
from {{ source('curated', 'silver') }}
