"""What is known of meetings while they go on: events in their places, finals, moods."""
