from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("training", "0002_idempotency_key")]

    operations = [
        migrations.AddField("job", "price_per_hour", models.DecimalField(decimal_places=4, max_digits=12, null=True)),
        migrations.AddField("job", "cost_limit", models.DecimalField(decimal_places=4, max_digits=12, null=True)),
        migrations.AddField("attempt", "last_step", models.BigIntegerField(null=True)),
        migrations.AddField("attempt", "devices", models.PositiveSmallIntegerField(default=1)),
    ]
