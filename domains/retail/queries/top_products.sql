/*
description: Products with the highest revenue in a period
parameters:
  since: {type: date, description: First day}
  until: {type: date, description: The day after the last}
  departments: {type: [text], default: [], description: Only of these departments; all where empty}
  top: {type: integer, default: 10, min: 1, max: 1000, description: How many}
*/
SELECT
  product_id,
  max(dim_department) AS department,
  sum(sales_value) AS revenue,
  sum(quantity) AS units,
  count(DISTINCT basket_id) AS baskets
FROM silver.purchase
WHERE df_time >= :since AND df_time < :until
  AND (cardinality(:departments) = 0 OR dim_department IN (:departments))
GROUP BY product_id
ORDER BY revenue DESC, product_id
LIMIT :top
