"""`headwater codegen`: code written from schemas."""
