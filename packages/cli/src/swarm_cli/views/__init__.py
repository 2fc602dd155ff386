"""What a terminal shows: tables and live views."""
