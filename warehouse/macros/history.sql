{#-
What was observed of each `key` from `valid_from` on, as versions (SCD2): one row for as long as no attribute changes,
valid until the next begins. `valid_to` is null in the last one, which is the current one.

A function of its rows and of nothing else: built again, from the same facts, it is the same history.
-#}
{% macro versions(observed, key, attributes) %}
select
    {{ key }},
    {{ attributes | join(', ') }},
    valid_from,
    lead(valid_from) over (partition by {{ key }} order by valid_from) as valid_to,
    row_number() over (partition by {{ key }} order by valid_from) as version
from (
    select
        *,
        row_number() over (partition by {{ key }} order by valid_from) as nth
        {%- for attribute in attributes %},
        lag({{ attribute }}) over (partition by {{ key }} order by valid_from) as {{ attribute }}_before
        {%- endfor %}
    from {{ observed }}
) as beside_the_one_before
where nth = 1
    {%- for attribute in attributes %}
    or {{ attribute }} is distinct from {{ attribute }}_before
    {%- endfor %}
{% endmacro %}
