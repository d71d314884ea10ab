select facts.transaction_key
from {{ ref('fact_transactions') }} as facts
left join {{ ref('fact_events') }} as events
    on facts.transaction_key = events.transaction_key and events.outcome = 'kept'
group by facts.transaction_key
having count(events.event_key) <> 1
