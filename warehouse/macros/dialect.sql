{#- Where the adapters differ. Everything else in this project is SQL that all three read alike. -#}

{#- An instant as a timestamp without a zone, in UTC. -#}
{% macro utc(column) %}{{ return(adapter.dispatch('utc')(column)) }}{% endmacro %}
{% macro default__utc(column) %}({{ column }} at time zone 'UTC'){% endmacro %}
{% macro athena__utc(column) %}cast({{ column }} at time zone 'UTC' as timestamp(6)){% endmacro %}

{#- The texts of an array, with commas between. -#}
{% macro joined(array) %}{{ return(adapter.dispatch('joined')(array)) }}{% endmacro %}
{% macro default__joined(array) %}array_to_string({{ array }}, ','){% endmacro %}
{% macro athena__joined(array) %}array_join({{ array }}, ','){% endmacro %}

{#- How many bytes a binary value has. -#}
{% macro byte_length(column) %}{{ return(adapter.dispatch('byte_length')(column)) }}{% endmacro %}
{% macro default__byte_length(column) %}octet_length({{ column }}){% endmacro %}
{% macro athena__byte_length(column) %}length({{ column }}){% endmacro %}

{#- 1 is Monday, 7 Sunday. -#}
{% macro weekday(date) %}{{ return(adapter.dispatch('weekday')(date)) }}{% endmacro %}
{% macro default__weekday(date) %}extract(isodow from {{ date }}){% endmacro %}
{% macro athena__weekday(date) %}day_of_week({{ date }}){% endmacro %}

{#- A query for the days from `first_day` to `last_day` of the one row of `bounds`, as column `day`. -#}
{% macro days(bounds) %}{{ return(adapter.dispatch('days')(bounds)) }}{% endmacro %}
{% macro duckdb__days(bounds) %}
select cast(unnest(generate_series(first_day, last_day, interval '1' day)) as date) as day from {{ bounds }}
{% endmacro %}
{% macro postgres__days(bounds) %}
select cast(generate_series(first_day, last_day, interval '1' day) as date) as day from {{ bounds }}
{% endmacro %}
{% macro athena__days(bounds) %}
select cast(day as date) as day
from {{ bounds }} cross join unnest(sequence(first_day, last_day, interval '1' day)) as series (day)
{% endmacro %}

{#- The first day of the month after. -#}
{% macro month_after(month) %}{{ return(adapter.dispatch('month_after')(month)) }}{% endmacro %}
{% macro default__month_after(month) %}cast({{ month }} + interval '1' month as date){% endmacro %}
{% macro athena__month_after(month) %}cast(date_add('month', 1, {{ month }}) as date){% endmacro %}
