"""How the document describes money: a JSON number, as it is answered; what is sent may be a text of digits as well."""

from decimal import Decimal
from typing import Any

from litestar.openapi.spec import OpenAPIType, Schema
from litestar.plugins import OpenAPISchemaPlugin
from litestar.typing import FieldDefinition


class MoneySchema(OpenAPISchemaPlugin):
    """Describes Decimal as a number; the framework takes it for a text."""

    def is_plugin_supported_field(self, field_definition: FieldDefinition) -> bool:
        """Return whether this is money."""
        return field_definition.annotation is Decimal

    def to_openapi_schema(self, field_definition: FieldDefinition, schema_creator: Any) -> Schema:
        """Return the schema."""
        del field_definition, schema_creator
        return Schema(type=OpenAPIType.NUMBER)
