from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("training", "0004_trial")]

    operations = [migrations.AddField("job", "devices", models.PositiveSmallIntegerField(default=1))]
