from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("endpoints", "0003_rollouts")]

    operations = [
        migrations.AddField(
            model_name="revision",
            name="variant",
            field=models.CharField(blank=True, default="", max_length=10),
        ),
    ]
