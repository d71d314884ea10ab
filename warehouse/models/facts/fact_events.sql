select
    events.event_key,
    {{ hour_key('events.appended_at') }} as time_key,
    lines.transaction_key,
    events.topic,
    events.partition_number,
    events.offset_number,
    events.appended_at,
    events.judged_at,
    events.verdict,
    case
        when events.verdict <> 'valid' then events.verdict
        when lines.transaction_key is null then 'duplicate'
        else 'kept'
    end as outcome,
    events.reason,
    events.warnings,
    events.contract,
    events.value_bytes
from {{ ref('stg_raw_events') }} as events
left join {{ ref('stg_raw_transactions') }} as lines
    on events.partition_number = lines.partition_number
    and events.offset_number = lines.offset_number
