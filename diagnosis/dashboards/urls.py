from django.urls import path

from diagnosis.dashboards import views

app_name = "dashboards"

urlpatterns = [
    path("", views.index, name="index"),
    path("models/", views.models, name="models"),
    path("models/<uuid:version_id>/", views.facts, name="model_facts"),
    path("models/<uuid:version_id>/<slug:figure_key>.csv", views.facts_csv, name="facts_csv"),
    path("models/<uuid:version_id>/promotion/", views.promotion, name="promotion"),
    path("models/<uuid:version_id>/promotion/<slug:figure_key>.csv", views.promotion_csv, name="promotion_csv"),
    path("models/<slug:figure_key>.csv", views.models_csv, name="models_csv"),
    path("live/", views.live, name="live"),
    path("live/<slug:figure_key>.csv", views.live_csv, name="live_csv"),
    path("operations/", views.operations, name="operations"),
    path("operations/<slug:figure_key>.csv", views.operations_csv, name="operations_csv"),
]
