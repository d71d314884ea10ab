-- Of lines whose records are older than the first that raw still has, nothing can be said.
select facts.transaction_key
from {{ ref('fact_transactions') }} as facts
left join {{ ref('fact_events') }} as events
    on facts.transaction_key = events.transaction_key and events.outcome = 'kept'
where facts.appended_at >= (select min(raw.appended_at) from {{ ref('stg_raw_events') }} as raw)
group by facts.transaction_key
having count(events.event_key) <> 1
