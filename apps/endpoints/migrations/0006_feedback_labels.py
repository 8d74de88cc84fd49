from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("endpoints", "0005_shadowsum_last")]

    operations = [
        migrations.AddField(model_name="feedback", name="labels", field=models.JSONField(null=True)),
    ]
