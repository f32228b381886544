from django.contrib import admin
from django.urls import include, path

from portal import views

portal_urls = (
    [
        path("", views.home, name="home"),
        path("administration/", views.administration, name="administration"),
        path("health/", views.health, name="health"),
        path("live/", views.live, name="live"),
    ],
    "portal",
)

urlpatterns = [
    path("", include(portal_urls)),
    path("", include("diagnosis.urls")),
    path("dashboards/", include("diagnosis.dashboards.urls")),
    path("accounts/", include("accounts.urls")),
    path("admin/login/", views.admin_sign_in),
    path("admin/", admin.site.urls),
]
