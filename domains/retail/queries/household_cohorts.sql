/*
description: Of the households that first bought in a month, how many come back in each month after it
parameters:
  since: {type: date, description: Cohorts of this day and later}
  until: {type: date, description: Cohorts before this day}
  months: {type: integer, default: 12, min: 0, max: 120, description: How long a cohort is followed}
max_rows: 10000
*/
WITH active AS (
  SELECT DISTINCT household_id, date_trunc('month', CAST(df_time AS date)) AS month
  FROM silver.purchase
),
households AS (
  SELECT household_id, month, min(month) OVER (PARTITION BY household_id) AS cohort
  FROM active
),
kept AS (
  SELECT cohort, date_diff('month', cohort, month) AS months_later, count(*) AS households
  FROM households
  WHERE cohort >= date_trunc('month', :since) AND cohort < :until
  GROUP BY 1, 2
)
SELECT
  cohort,
  months_later,
  households,
  CAST(households AS double) / first_value(households) OVER (PARTITION BY cohort ORDER BY months_later) AS share
FROM kept
WHERE months_later <= :months
ORDER BY cohort, months_later
