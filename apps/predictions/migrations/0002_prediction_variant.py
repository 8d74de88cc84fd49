from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("predictions", "0001_initial")]

    operations = [
        migrations.AddField(
            model_name="prediction",
            name="variant",
            field=models.CharField(blank=True, default="", max_length=10),
        ),
    ]
