{#- The KPIs of domains/retail/metrics.yaml that can be told exactly; a test holds both lists equal. -#}
{% macro kpis() %}
{{ return([
    {'name': 'revenue', 'by': ['total', 'store', 'department'], 'top': 'sum(sales_value)'},
    {'name': 'units', 'by': ['total', 'store', 'department'], 'top': 'sum(quantity)'},
    {
        'name': 'discount_rate',
        'by': ['total', 'store', 'department'],
        'top': 'sum(retail_disc + coupon_disc + coupon_match_disc)',
        'bottom': 'sum(sales_value + retail_disc + coupon_disc + coupon_match_disc)',
    },
    {'name': 'orders', 'by': ['total'], 'top': 'count(distinct basket_id)'},
    {'name': 'customers', 'by': ['total'], 'top': 'count(distinct household_id)'},
]) }}
{% endmacro %}

{#- Dimension -> SQL of its label. -#}
{% macro kpi_dimensions() %}
{{ return({'total': "''", 'store': 'cast(store_id as varchar)', 'department': 'department'}) }}
{% endmacro %}

{#-
Rows of (day, metric, dimension, label, top, bottom, value): `kpis`, by day, from `lines`, which has `day` and what the
KPIs name. Each dimension is added up once.
-#}
{% macro kpis_by_day(lines, kpis, dimensions) %}
with
{%- for dimension, label in dimensions.items() %}
by_{{ dimension }} as (
    select
        day,
        {{ label }} as label
        {%- for kpi in kpis if dimension in kpi.by %},
        cast({{ kpi.top }} as decimal(38, 2)) as {{ kpi.name }}_top,
        cast({{ kpi.get('bottom', 'null') }} as decimal(38, 2)) as {{ kpi.name }}_bottom
        {%- endfor %}
    from {{ lines }}
    group by 1, 2
){{ ',' if not loop.last }}
{%- endfor %}
{% for dimension in dimensions %}
{%- set last_dimension = loop.last %}
{%- for kpi in kpis if dimension in kpi.by %}
select
    day,
    '{{ kpi.name }}' as metric,
    '{{ dimension }}' as dimension,
    label,
    {{ kpi.name }}_top as top,
    {{ kpi.name }}_bottom as bottom,
    {%- if 'bottom' in kpi %}
    case
        when {{ kpi.name }}_bottom <> 0
            then cast({{ kpi.name }}_top as double precision) / cast({{ kpi.name }}_bottom as double precision)
    end as value
    {%- else %}
    cast({{ kpi.name }}_top as double precision) as value
    {%- endif %}
from by_{{ dimension }}
{{ 'union all' if not (last_dimension and loop.last) }}
{%- endfor %}
{%- endfor %}
{% endmacro %}
