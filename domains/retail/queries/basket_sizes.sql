/*
description: How many baskets have how many lines, and what they are worth
parameters:
  since: {type: date, description: First day}
  until: {type: date, description: The day after the last}
  largest: {type: integer, default: 20, min: 1, max: 1000, description: Larger baskets share one row with this size}
*/
WITH baskets AS (
  SELECT basket_id, count(*) AS lines, sum(sales_value) AS value
  FROM silver.purchase
  WHERE df_time >= :since AND df_time < :until
  GROUP BY basket_id
),
sizes AS (
  SELECT least(lines, :largest) AS lines, count(*) AS baskets, sum(value) AS revenue
  FROM baskets
  GROUP BY 1
)
SELECT
  lines,
  baskets,
  revenue,
  round(CAST(revenue AS double) / baskets, 2) AS mean_value,
  CAST(baskets AS double) / sum(baskets) OVER () AS share
FROM sizes
ORDER BY lines
