select
    topic || '/' || cast("partition" as varchar) || '/' || cast("offset" as varchar) as event_key,
    topic,
    "partition" as partition_number,
    "offset" as offset_number,
    {{ utc('ts') }} as appended_at,
    verdict,
    reason,
    detail,
    {{ joined('warnings') }} as warnings,
    contract,
    {{ byte_length('"value"') }} as value_bytes,
    {{ utc('judged_ts') }} as judged_at
from {{ source('raw', 'bronze') }}
