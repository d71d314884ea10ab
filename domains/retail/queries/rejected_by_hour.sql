/*
description: What the judge rejected, and its share of all records, by the hour the records came in
parameters:
  since: {type: timestamp, description: First instant}
  until: {type: timestamp, description: The instant after the last}
max_rows: 10000
*/
SELECT
  date_trunc('hour', ts) AS hour,
  count(*) AS records,
  count_if(verdict = 'quarantined') AS quarantined,
  count_if(verdict = 'undecodable') AS undecodable,
  CAST(count_if(verdict <> 'valid') AS double) / count(*) AS rejected_share
FROM bronze.purchase
WHERE ts >= :since AND ts < :until
GROUP BY 1
ORDER BY 1
