"""Functions that add histograms element by element: in the recorder's upserts, and over many rollups in reports."""

from typing import ClassVar

from django.db import migrations

_FORWARD = """
CREATE FUNCTION add_arrays(a bigint[], b bigint[]) RETURNS bigint[]
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
AS $$ SELECT array_agg(x + y ORDER BY i) FROM unnest(a, b) WITH ORDINALITY AS pair(x, y, i) $$;
CREATE AGGREGATE sum_arrays(bigint[]) (
    SFUNC = add_arrays, STYPE = bigint[], COMBINEFUNC = add_arrays, PARALLEL = SAFE
);
"""
_BACKWARD = "DROP AGGREGATE sum_arrays(bigint[]); DROP FUNCTION add_arrays(bigint[], bigint[]);"


class Migration(migrations.Migration):
    dependencies: ClassVar = [("usage", "0001_initial")]
    operations: ClassVar = [migrations.RunSQL(_FORWARD, _BACKWARD)]
