from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("endpoints", "0004_revision_variant")]

    operations = [
        migrations.AddField(model_name="shadowsum", name="last", field=models.JSONField(default=list)),
    ]
