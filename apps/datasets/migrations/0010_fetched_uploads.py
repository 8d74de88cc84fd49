from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("datasets", "0009_sources")]

    operations = [migrations.AddField("upload", "url", models.TextField(blank=True, default=""), preserve_default=False)]
