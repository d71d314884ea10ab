{#- The key of the hour that a timestamp is in: 2017013123. -#}
{% macro hour_key(at) -%}
cast(
    extract(year from {{ at }}) * 1000000 + extract(month from {{ at }}) * 10000
    + extract(day from {{ at }}) * 100 + extract(hour from {{ at }}) as bigint
)
{%- endmacro %}

{#- The first day of the month that a timestamp is in. -#}
{% macro month_of(at) %}cast(date_trunc('month', {{ at }}) as date){% endmacro %}
