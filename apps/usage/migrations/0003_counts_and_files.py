"""The ledger in order and numbered by the processes that served; counts, hours and files made of it; notices."""

from typing import ClassVar

import django.db.models.deletion
import django.db.models.expressions
from django.db import migrations, models

import apps.core.ids

_HOURS = """
INSERT INTO usage_ledgerhour (team_id, hour, entries, exported)
SELECT team_id, date_trunc('hour', time), count(*), 0 FROM usage_ledgerentry GROUP BY 1, 2
"""


class Migration(migrations.Migration):

    dependencies: ClassVar = [
        ('teams', '0001_initial'),
        ('usage', '0002_sum_arrays'),
    ]

    operations: ClassVar = [
        migrations.RunSQL("CREATE SEQUENCE usage_ledger_sequence", "DROP SEQUENCE usage_ledger_sequence"),
        migrations.AddField(
            model_name='ledgerentry',
            name='number',
            field=models.PositiveIntegerField(default=0),
        ),
        migrations.AddField(
            model_name='ledgerentry',
            name='process',
            field=models.CharField(blank=True, default='', max_length=40),
        ),
        migrations.AddField(
            model_name='ledgerentry',
            name='sequence',
            field=models.BigIntegerField(db_default=django.db.models.expressions.RawSQL("nextval('usage_ledger_sequence')", []), editable=False),
        ),
        migrations.CreateModel(
            name='GatewayCount',
            fields=[
                ('id', models.BigAutoField(primary_key=True, serialize=False)),
                ('process', models.CharField(max_length=40)),
                ('team_id', models.CharField(max_length=32)),
                ('minute', models.DateTimeField()),
                ('numbered', models.PositiveIntegerField()),
                ('unwritten', models.PositiveIntegerField(default=0)),
            ],
            options={
                'constraints': [models.UniqueConstraint(fields=('team_id', 'minute', 'process'), name='one_count_per_process_and_minute')],
            },
        ),
        migrations.CreateModel(
            name='LedgerFile',
            fields=[
                ('id', apps.core.ids.IdField(prefix='usf', serialize=False)),
                ('team_id', models.CharField(max_length=32)),
                ('hour', models.DateTimeField()),
                ('part', models.PositiveIntegerField()),
                ('through', models.BigIntegerField()),
                ('rows', models.PositiveBigIntegerField(null=True)),
                ('bytes', models.PositiveBigIntegerField(null=True)),
                ('sha256', models.CharField(blank=True, max_length=64)),
                ('created', models.DateTimeField(auto_now_add=True)),
            ],
            options={
                'constraints': [models.UniqueConstraint(fields=('team_id', 'hour', 'part'), name='one_file_per_part')],
            },
        ),
        migrations.CreateModel(
            name='LedgerHour',
            fields=[
                ('id', models.BigAutoField(primary_key=True, serialize=False)),
                ('team_id', models.CharField(max_length=32)),
                ('hour', models.DateTimeField()),
                ('entries', models.PositiveBigIntegerField()),
                ('exported', models.PositiveBigIntegerField(default=0)),
            ],
            options={
                'indexes': [models.Index(condition=models.Q(('entries', models.F('exported')), _negated=True), fields=['hour'], name='ledger_hours_to_export')],
                'constraints': [models.UniqueConstraint(fields=('team_id', 'hour'), name='one_ledger_hour')],
            },
        ),
        migrations.CreateModel(
            name='QuotaNotice',
            fields=[
                ('id', models.BigAutoField(primary_key=True, serialize=False)),
                ('month', models.DateField()),
                ('percent', models.PositiveSmallIntegerField()),
                ('limit', models.PositiveBigIntegerField()),
                ('created', models.DateTimeField(auto_now_add=True)),
                ('team', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='+', to='teams.team')),
            ],
            options={
                'constraints': [models.UniqueConstraint(fields=('team', 'month', 'percent', 'limit'), name='one_notice_per_share')],
            },
        ),
        migrations.RunSQL(_HOURS, migrations.RunSQL.noop),
    ]
