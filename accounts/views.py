from urllib.parse import urlsplit

from django.contrib.auth import views as auth_views


class SignInView(auth_views.LoginView):
    template_name = "accounts/sign_in.html"
    redirect_authenticated_user = True

    def get_success_url(self) -> str:
        """Never back to this page: whoever is signed in already would go round in circles."""
        url = super().get_success_url()
        return self.get_default_redirect_url() if urlsplit(url).path == self.request.path else url
