-- Of lines whose records are older than the first that raw still has, nothing can be said; without any, it lacks all.
with raw_events as (
    select min(appended_at) as first_at from {{ ref('stg_raw_events') }}
)

select facts.transaction_key
from {{ ref('fact_transactions') }} as facts
cross join raw_events
left join {{ ref('fact_events') }} as events
    on facts.transaction_key = events.transaction_key and events.outcome = 'kept'
where raw_events.first_at is null or facts.appended_at >= raw_events.first_at
group by facts.transaction_key
having count(events.event_key) <> 1
