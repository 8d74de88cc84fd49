from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("datasets", "0007_repairs")]

    operations = [
        migrations.AddField("dataset", "trashed", models.DateTimeField(null=True)),
        migrations.AddField("dataset", "removed", models.DateTimeField(null=True)),
    ]
