"""THE table of task templates. A new one is a file in this folder and a line here."""

from workers.task_templates.base import TaskTemplate
from workers.task_templates.image_classification import ImageClassification
from workers.task_templates.recommendation import Recommendation
from workers.task_templates.tabular_classification import TabularClassification
from workers.task_templates.text_classification import TextClassification

TEMPLATES: dict[str, TaskTemplate] = {
    template.key: template
    for template in (
        TextClassification(),
        ImageClassification(),
        Recommendation(),
        TabularClassification(),
    )
}
