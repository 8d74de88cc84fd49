from typing import ClassVar

from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models


class Migration(migrations.Migration):
    # The ledger may be large: requests are recorded while the index is made.
    atomic = False

    dependencies: ClassVar = [("usage", "0006_indexes")]

    operations: ClassVar = [
        # Of a run that was killed half way one is left that nobody uses.
        migrations.RunSQL("DROP INDEX CONCURRENTLY IF EXISTS ledger_by_revision", migrations.RunSQL.noop),
        AddIndexConcurrently(
            model_name="ledgerentry",
            index=models.Index(fields=["revision_id", "time"], name="ledger_by_revision"),
        ),
    ]
