"""The REST interface, below /api/v1: what the pages do, for programs."""

from typing import Annotated

from fastapi import APIRouter, Depends
from pydantic import BaseModel

from preceptor.labeling.security import Visitor, api_roles

router = APIRouter()

Labeler = Annotated[Visitor, Depends(api_roles("labeler", "researcher", "admin", scope="label"))]


class Me(BaseModel):
    """The account that asks."""

    login: str
    pseudonym: str
    role: str
    group: str
    state: str
    accepts_sensitive: bool


@router.get("/me")
def me(visitor: Labeler) -> Me:
    member = visitor.member
    return Me(
        login=member.login,
        pseudonym=member.pseudonym,
        role=member.role,
        group=member.group,
        state=member.state,
        accepts_sensitive=member.accepts_sensitive,
    )
