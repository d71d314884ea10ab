/*
description: Stores side by side, each with its rank and its share of all their revenue
parameters:
  since: {type: date, description: First day}
  until: {type: date, description: The day after the last}
  stores: {type: [integer], default: [], description: Only these stores; all where empty}
*/
WITH stores AS (
  SELECT
    store_id,
    sum(sales_value) AS revenue,
    count(DISTINCT basket_id) AS baskets,
    count(DISTINCT household_id) AS households
  FROM silver.purchase
  WHERE df_time >= :since AND df_time < :until
    AND (cardinality(:stores) = 0 OR store_id IN (:stores))
  GROUP BY store_id
)
SELECT
  store_id,
  revenue,
  baskets,
  households,
  round(CAST(revenue AS double) / baskets, 2) AS basket_value,
  rank() OVER (ORDER BY revenue DESC) AS rank,
  CAST(revenue AS double) / CAST(sum(revenue) OVER () AS double) AS share
FROM stores
ORDER BY rank, store_id
