"""The warehouse beside a stack: dbt in an environment of its own, made once, over the lake's tables."""
