from django.db import migrations


class Migration(migrations.Migration):
    """Smear images are compressed already: kept uncompressed out of line, a byte range is read without the rest."""

    dependencies = [("diagnosis", "0001_initial")]

    operations = [
        migrations.RunSQL(
            "ALTER TABLE diagnosis_storedblob ALTER COLUMN data SET STORAGE EXTERNAL",
            "ALTER TABLE diagnosis_storedblob ALTER COLUMN data SET STORAGE EXTENDED",
        )
    ]
