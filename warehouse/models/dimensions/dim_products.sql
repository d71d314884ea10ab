with sold as (
    select distinct product_id from {{ ref('stg_raw_transactions') }}
)

select
    coalesce(known.product_id, sold.product_id) as product_id,
    coalesce(known.department, '__unknown__') as department,
    known.product_category,
    known.product_type,
    known.brand,
    known.manufacturer_id,
    known.package_size,
    known.product_id is not null as is_known,
    sold.product_id is not null as is_sold
from {{ source('curated', 'products') }} as known
full outer join sold on known.product_id = sold.product_id
