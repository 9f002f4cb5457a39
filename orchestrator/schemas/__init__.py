"""JSON Schemas: of sweep files and profiles, for editors; of what commands print, for programs."""
