/*
description: Purchases that came in long after they were made, and their share, by the hour they were made in
parameters:
  since: {type: timestamp, description: First instant}
  until: {type: timestamp, description: The instant after the last}
  seconds: {type: integer, default: 60, min: 0, description: How long is long; 60 is the lateness of metrics.yaml}
max_rows: 10000
*/
SELECT
  date_trunc('hour', df_time) AS hour,
  count(*) AS purchases,
  count_if(date_diff('second', df_time, df_ts) >= :seconds) AS delayed,
  CAST(count_if(date_diff('second', df_time, df_ts) >= :seconds) AS double) / count(*) AS delayed_share
FROM silver.purchase
WHERE df_time >= :since AND df_time < :until
GROUP BY 1
ORDER BY 1
