from django.urls import path

from diagnosis.views import cases, images, reading, reports

app_name = "diagnosis"

urlpatterns = [
    path("cases/", cases.case_list, name="case_list"),
    path("cases/new/", cases.case_new, name="case_new"),
    path("cases/<uuid:case_id>/", cases.case_detail, name="case_detail"),
    path("cases/<uuid:case_id>/edit/", cases.case_edit, name="case_edit"),
    path("cases/<uuid:case_id>/status/", cases.case_status, name="case_status"),
    path("cases/<uuid:case_id>/submit/", cases.case_submit_view, name="case_submit"),
    path("cases/<uuid:case_id>/cancel/", cases.case_cancel_view, name="case_cancel"),
    path("cases/<uuid:case_id>/images/", images.image_upload, name="image_upload"),
    path("cases/<uuid:case_id>/images/<uuid:image_id>/", images.image_file, name="image_file"),
    path("cases/<uuid:case_id>/images/<uuid:image_id>/thumbnail/", images.image_thumbnail, name="image_thumbnail"),
    path("cases/<uuid:case_id>/images/<uuid:image_id>/remove/", images.image_remove, name="image_remove"),
    path("cases/<uuid:case_id>/claim/", reading.case_claim_view, name="case_claim"),
    path("cases/<uuid:case_id>/take-over/", reading.take_over, name="take_over"),
    path("cases/<uuid:case_id>/read/", reading.reading_station, name="reading_station"),
    path("cases/<uuid:case_id>/read/own/", reading.own_read, name="own_read"),
    path("cases/<uuid:case_id>/read/images/<uuid:image_id>/", reading.image_reading, name="image_reading"),
    path("cases/<uuid:case_id>/read/images/<uuid:image_id>/cells/", reading.cells, name="image_cells"),
    path("cases/<uuid:case_id>/read/agree/", reading.agree_all, name="agree_all"),
    path("cases/<uuid:case_id>/read/conclusion/", reading.conclude, name="conclude"),
    path("cases/<uuid:case_id>/return/", reading.case_return_view, name="case_return"),
    path("cases/<uuid:case_id>/second-read/", reading.second_read, name="second_read"),
    path("cases/<uuid:case_id>/sign/", reading.sign, name="sign"),
    path("cases/<uuid:case_id>/amend/", reports.amend, name="amend"),
    path("patients/lookup/", cases.patient_lookup, name="patient_lookup"),
    path("reports/<uuid:report_id>/", reports.report_detail, name="report_detail"),
    path("search/", cases.search, name="search"),
    path("worklist/", reading.worklist_view, name="worklist"),
    path("worklist/next/", reading.worklist_next, name="worklist_next"),
]
