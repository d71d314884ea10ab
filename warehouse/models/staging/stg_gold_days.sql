select
    "day" as day,
    metric,
    case when {{ joined('"by"') }} = '' then 'total' else {{ joined('"by"') }} end as dimension,
    {{ joined('labels') }} as label,
    top,
    bottom,
    "value" as value
from {{ source('curated', 'gold') }}
where "window" = '1d'
    -- Quantiles and top-k are sketches, which SQL cannot tell again.
    and metric in ({% for kpi in kpis() %}'{{ kpi.name }}'{{ ', ' if not loop.last }}{% endfor %})
