/*
description: Revenue, units and discounts of each department by day or by month
parameters:
  since: {type: date, description: First day}
  until: {type: date, description: The day after the last}
  by: {type: enum, allowed: [day, month], default: day, description: Length of a period}
max_rows: 10000
*/
SELECT
  IF(:by = 'month', date_trunc('month', CAST(df_time AS date)), CAST(df_time AS date)) AS period,
  coalesce(dim_department, 'unknown') AS department,
  sum(sales_value) AS revenue,
  sum(quantity) AS units,
  sum(retail_disc + coupon_disc + coupon_match_disc) AS discounts
FROM silver.purchase
WHERE df_time >= :since AND df_time < :until
GROUP BY 1, 2
ORDER BY 1, 2
