{% set lines %}(
    select cast(occurred_at as date) as day, facts.* from {{ ref('fact_transactions') }} as facts
) as lines{% endset %}
{{ kpis_by_day(lines, kpis(), kpi_dimensions()) }}
