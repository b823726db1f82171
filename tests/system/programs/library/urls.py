from __future__ import annotations

from django.db.models import Count, F, Sum
from django.http import HttpRequest, JsonResponse
from django.urls import path

from .models import Page


def show(request: HttpRequest, number: int) -> JsonResponse:
    page, _ = Page.objects.get_or_create(number=number)
    Page.objects.filter(pk=page.pk).update(hits=F("hits") + 1)
    request.session["seen"] = request.session.get("seen", 0) + 1
    return JsonResponse({"page": page.number, "links": [2 * number + 1, 2 * number + 2]})


def total(request: HttpRequest) -> JsonResponse:
    return JsonResponse(Page.objects.aggregate(pages=Count("pk"), hits=Sum("hits")))


urlpatterns = [path("page/<int:number>", show), path("total", total)]
